#include "relay/base/version.h"

#include "relay/base/revision.h"

const char *
version_text(void)
{
	return PACKAGE_VERSION " (" CHAPAR_REVISION ")";
}

const char *
version_release(void)
{
	return PACKAGE_VERSION;
}
