#ifndef RELAY_BASE_VERSION_H
#define RELAY_BASE_VERSION_H

/* "0.1.0 (a1b2c3d4e5f6)": the release and the revision it was built from. */
const char *version_text(void);

/* "0.1.0" */
const char *version_release(void);

#endif
