"""A small page on this computer to look at pictures and decide about each, by keyboard."""
