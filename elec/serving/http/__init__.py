"""The server: Open Inference Protocol V2 and `/rank` over HTTP, with every bound checked before any work is done."""
