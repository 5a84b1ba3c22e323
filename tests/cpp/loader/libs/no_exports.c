// Nothing is exported: the hash table is empty.
int hidden_value;
int hidden_function(void) { return ++hidden_value; }
