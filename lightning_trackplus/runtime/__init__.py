"""Helpers for devices, processes and messages."""
