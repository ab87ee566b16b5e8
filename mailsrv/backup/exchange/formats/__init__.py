"""The forms in which mail leaves and comes: mbox, Maildir++, folders of .eml files."""
