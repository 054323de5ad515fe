"""From a run to what people search with: server, index, export, push, plan."""
