"""What a recording's turn needs to be worked on again when nothing but the history is left.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OPEN = "ix_recordings_status"


def upgrade() -> None:
    with op.batch_alter_table("recordings") as table:
        table.add_column(sa.Column("source", sa.String(16)))
        table.add_column(sa.Column("account_sid", sa.String(64)))
        table.add_column(sa.Column("position", sa.Integer()))
        table.add_column(sa.Column("at_ms", sa.Integer()))
        table.add_column(sa.Column("attempts", sa.Integer()))
        table.add_column(sa.Column("next_try_at", sa.DateTime(timezone=True)))
        table.create_index(OPEN, ["status"])


def downgrade() -> None:
    with op.batch_alter_table("recordings") as table:
        table.drop_index(OPEN)
        for column in ("next_try_at", "attempts", "at_ms", "position", "account_sid", "source"):
            table.drop_column(column)
