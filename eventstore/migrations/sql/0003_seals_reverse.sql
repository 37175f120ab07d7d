DROP TABLE eventstore_seal;
