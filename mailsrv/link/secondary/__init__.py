"""The front end's side: ``IStore`` over links to the primaries."""
