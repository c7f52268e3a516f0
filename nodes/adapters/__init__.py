"""What is added to a model: LoRAs, ControlNets and T2I-Adapters, IP-Adapters and the networks that read pictures."""
