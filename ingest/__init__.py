"""The door: what applications send in, checked and made durable."""
