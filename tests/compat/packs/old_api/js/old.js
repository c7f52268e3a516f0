// loaded by editors
