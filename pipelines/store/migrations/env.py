"""What Alembic runs: the missing migrations, on the connection that `upgrade` gives, in its transaction."""

from alembic import context
from headrace.pipelines.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
