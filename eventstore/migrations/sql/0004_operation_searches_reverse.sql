DROP INDEX eventstore_operation_key;
DROP INDEX eventstore_operation_to;
DROP INDEX eventstore_operation_action;
DROP INDEX eventstore_operation_actor;
