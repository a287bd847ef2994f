"""Other protocols under lockstep: contract, model, adapter, command."""
