// A library that leaves it to its user to load what answers: it names no library that defines these.
int callbacks_call(int argument);
int callbacks_count(void);

int user_calls(int argument) { return 1000 + callbacks_call(argument); }
int user_counts(void) { return callbacks_count(); }
