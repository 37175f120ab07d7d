"""The accounts context: customers and their accounts, and their part of every transfer."""
