"""One encrypted SQLite file. Blocking; knows no Twisted and no protocol."""
