"""What is attached to a ticket: a summary, a picture, the page, and the capture itself."""
