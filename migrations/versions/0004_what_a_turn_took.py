"""How long each step of a turn took, what of a reply was not heard, and what the legs of a call said.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LENGTHS = ("heard_ms", "noticed_ms", "words_ms")


def upgrade() -> None:
    for length in LENGTHS:
        op.add_column("turns", sa.Column(length, sa.Integer()))
    op.add_column("turns", sa.Column("generated", sa.Text()))
    op.create_table(
        "traces",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["call_id"], ["calls.id"], name=op.f("fk_traces_call_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.UniqueConstraint("call_id", name=op.f("uq_traces_call_id")),
    )


def downgrade() -> None:
    op.drop_table("traces")
    for column in (*LENGTHS, "generated"):
        op.drop_column("turns", column)
