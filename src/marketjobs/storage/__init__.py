"""How it is kept: engine, tables, bulk upsert, one repository a noun, migrations."""
