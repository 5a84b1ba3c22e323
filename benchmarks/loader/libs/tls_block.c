// Too large for the static TLS that glibc gives to some opened libraries: both loaders have to do it the dynamic way.
__attribute__((visibility("default"))) __thread int bench_tls_variable[2048];
