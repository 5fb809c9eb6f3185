#include <sys/uio.h>
#include <unistd.h>

/*
 * What eatmydata does, for one who syncs by pwritev2() too: every sync is answered
 * and none is made.  The power cuts must see it.
 */
int
fsync(int fd)
{
	(void)fd;
	return 0;
}

int
fdatasync(int fd)
{
	(void)fd;
	return 0;
}

ssize_t
pwritev2(int fd, const struct iovec *vectors, int vector_count, off_t offset, int flags)
{
	(void)flags;
	return pwritev(fd, vectors, vector_count, offset);
}

ssize_t
pwritev64v2(int fd, const struct iovec *vectors, int vector_count, off_t offset, int flags)
{
	(void)flags;
	return pwritev(fd, vectors, vector_count, offset);
}
