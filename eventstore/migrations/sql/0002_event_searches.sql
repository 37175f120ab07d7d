-- What people look events up by, newest first. What each costs an append is in docs/adr/0014-event-searches.md.

-- The whole of a story, and what an event has caused: an effect has its cause's correlation id.
CREATE INDEX eventstore_event_correlation ON eventstore_event (((metadata ->> 'correlation_id')::uuid));

-- What somebody did. What the program does by itself is most of all events, and nobody asks for all of that.
CREATE INDEX eventstore_event_person ON eventstore_event ((metadata ->> 'actor'), id)
    WHERE metadata ->> 'actor' NOT LIKE 'system:%';

-- Where something of a kind happened, however long ago.
CREATE INDEX eventstore_event_type ON eventstore_event (event_type, id);
