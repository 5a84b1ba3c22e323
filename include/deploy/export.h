#pragma once

// DEPLOY_API marks what libdeploy exports; everything else is hidden (-fvisibility=hidden).
#if defined(DEPLOY_STATIC)
#define DEPLOY_API
#else
#define DEPLOY_API __attribute__((visibility("default")))
#endif
