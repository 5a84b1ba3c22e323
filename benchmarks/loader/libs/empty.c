// Stands at link time for a library that is found at run time; or has nothing but DT_NEEDED entries.
typedef int empty_translation_unit;
