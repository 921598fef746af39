"""One file for each form that lists of videos are found in; `liteframe.data.sources.manifest` chooses among them."""
