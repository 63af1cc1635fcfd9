"""Every parser against input that is nearly right: it may refuse, in words, but not crash, hang or be led astray."""
