"""What Alembic runs: within the transaction that ``store.database`` has begun."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True)
context.run_migrations()
