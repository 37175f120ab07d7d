"""The event store in Django's admin: history to read, subscriptions and parked events to operate.

Needs `django.contrib.admin`; without it `eventstore.apps` leaves this package alone, and nothing else imports it.
"""
