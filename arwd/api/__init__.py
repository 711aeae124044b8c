"""What faces the network: dialects that decode, call and encode; who may call; the event stream."""
