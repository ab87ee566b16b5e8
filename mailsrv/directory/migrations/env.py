"""Alembic's entry: runs the migrations on the connection that the caller has locked."""

from alembic import context

from mailsrv.directory.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
