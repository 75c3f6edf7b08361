"""Where tables come from: a file, a folder, S3, https, a database."""
