DROP INDEX eventstore_event_type;
DROP INDEX eventstore_event_person;
DROP INDEX eventstore_event_correlation;
