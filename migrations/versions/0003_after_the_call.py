"""What came of a call, what it cost, and whether its operator has been told.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not as a batch: SQLite would copy the table and drop the old one, and with each call its turns.
    op.add_column("calls", sa.Column("outcome", sa.String(16)))
    op.add_column("calls", sa.Column("message", sa.JSON()))
    op.add_column("calls", sa.Column("cost_usd", sa.Double()))
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("given_up_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"], ["calls.id"], name=op.f("fk_deliveries_call_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("call_id", name=op.f("uq_deliveries_call_id")),
    )
    op.create_index(op.f("ix_deliveries_due_at"), "deliveries", ["due_at"])


def downgrade() -> None:
    op.drop_table("deliveries")
    for column in ("cost_usd", "message", "outcome"):
        op.drop_column("calls", column)
