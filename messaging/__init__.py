"""Chats, memberships, messages and attachments, encrypted at rest."""
