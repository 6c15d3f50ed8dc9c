"""One file for each kind of measurement: ``knows(text)`` says whether it is one, ``read(text, file)`` reads it."""
