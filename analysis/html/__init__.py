"""The report as one page that opens offline, made of the report's JSON and of `why` answers.

`page` puts it together: tables by a template that escapes everything, and a picture that ECharts
draws of what `picture` gives as data. The page's own scripts are in `page/`, one concept a file;
`vendor/` holds ECharts as it was published, with its licence.
"""
