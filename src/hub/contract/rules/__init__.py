"""Rules of `buf.validate`: declared in the `.proto`, checked by the gateway, published in the JSON Schema."""
