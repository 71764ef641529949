"""`rtrace export`: a capture for other tools. See docs/export.md.

`stream` gives events and details in order of time, a window at a time; `event_table` and
`detail_table` make Arrow tables of them, `json_lines` lines; `frame_table` makes Arrow tables of
the frames of `rtrace.Capture`; `parquet_files` and `csv_files` write folders of tables, `perfetto`
a trace.
"""

SCHEMA = 1
"""Version of names and meanings of all that is exported: raised when one of them changes."""
