"""How many messages that are no job a worker was sent.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker", sa.Column("refused", sa.BigInteger(), server_default="0", nullable=False))
