"""What the networks of a loaded model or text encoder are called, in its `networks` and by those that change them."""

DENOISER = "denoiser"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
