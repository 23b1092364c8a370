"""Helpers that several tests share: small networks, studies on disk, programs as processes."""
