#include "tests/bench/spool/meter.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "relay/base/clock.h"

enum {
	SECTOR_BYTES = 512,             /* the unit of /sys/dev/block/.../stat, whatever the disk */
};

static uint64_t
own_written_bytes(void)
{
	FILE *file = fopen("/proc/self/io", "re");
	char line[128];
	uint64_t bytes = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "write_bytes: %" SCNu64, &bytes) == 1)
			break;
	}
	(void)fclose(file);
	return bytes;
}

static uint64_t
device_written_bytes(const char *directory)
{
	struct stat status;
	char path[64];
	uint64_t sectors = 0;

	if (stat(directory, &status) < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(status.st_dev),
	    minor(status.st_dev));
	FILE *file = fopen(path, "re");

	if (!file)
		return 0;
	if (fscanf(file, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) != 1)
		sectors = 0;
	(void)fclose(file);
	return sectors * SECTOR_BYTES;
}

static uint64_t
cpu_us(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	    (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct meter
meter_now(const char *directory)
{
	return (struct meter){
		.us = clock_monotonic_us(clock_system()),
		.cpu_us = cpu_us(),
		.own_bytes = own_written_bytes(),
		.device_bytes = device_written_bytes(directory),
	};
}

struct meter
meter_since(const struct meter *before, const char *directory)
{
	struct meter now = meter_now(directory);

	return (struct meter){
		.us = now.us - before->us,
		.cpu_us = now.cpu_us - before->cpu_us,
		.own_bytes = now.own_bytes - before->own_bytes,
		.device_bytes = now.device_bytes - before->device_bytes,
	};
}

uint64_t
meter_rss_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	uint64_t pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*u %" SCNu64, &pages) != 1)
		pages = 0;
	(void)fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void
meter_settle(const char *directory)
{
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)syncfs(fd);
	(void)close(fd);
}
