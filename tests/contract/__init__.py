"""What others rely on: schemas, wire shapes, published files."""
