"""Export and import: mail leaves a mailbox in the forms of other programs, and comes from them."""
