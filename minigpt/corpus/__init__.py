"""Text and ids.

Small or large, a file is read in one way: `blocks` cuts it into whole lines, `layout` and `columns`
read the usual lines of a block at once and all others through `qa.parse_line`, `takings` keeps what
a command wants of them, `parts` does that for a range of the file, `workers` for many ranges at
once, and `scan` for the whole file. On it stand `vocab` and `stats`; `places`, `shuffle`, `split`
and `arrange`; `encoded` and `store`, which keep a `dataset` beside its file. `qa.read_file` is the
plain reader: it gives pairs as objects, and tests hold the others to it.
"""
