#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/base/span.h"
#include "relay/session/crew_admission.h"

static struct endpoint
client(const char *text)
{
	struct endpoint endpoint;

	assert_true(endpoint_parse_ip(span_from_cstr(text), 1000, &endpoint));
	return endpoint;
}

static void
test_client_limit(void **state)
{
	struct crew_admission admission;
	struct endpoint one = client("192.0.2.1");
	struct endpoint other = client("192.0.2.2");

	(void)state;
	crew_admission_init(&admission, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(crew_admission_enter(&admission, &one, 100, 3), CREW_ADMITTED);
	assert_int_equal(crew_admission_enter(&admission, &one, 100, 3), CREW_REFUSED_CLIENT);
	one.port = 2000;        /* another port is the same client */
	assert_int_equal(crew_admission_enter(&admission, &one, 100, 3), CREW_REFUSED_CLIENT);
	assert_int_equal(crew_admission_enter(&admission, &other, 100, 3), CREW_ADMITTED);
	assert_int_equal(atomic_load(&admission.total), 4);
	crew_admission_leave(&admission, &one);
	assert_int_equal(crew_admission_count(&admission, &one), 2);
	assert_int_equal(crew_admission_enter(&admission, &one, 100, 3), CREW_ADMITTED);
	assert_int_equal(crew_admission_enter(&admission, &one, 100, 0), CREW_ADMITTED);
	assert_int_equal(atomic_load(&admission.refused), 2);
	crew_admission_fini(&admission);
}

static void
test_total_limit(void **state)
{
	struct crew_admission admission;
	struct endpoint unix_client = { .family = ENDPOINT_UNIX };
	struct endpoint one = client("2001:db8::1");

	(void)state;
	crew_admission_init(&admission, 2);
	assert_int_equal(crew_admission_enter(&admission, &one, 2, 0), CREW_ADMITTED);
	assert_int_equal(crew_admission_enter(&admission, &unix_client, 2, 1), CREW_ADMITTED);
	assert_int_equal(crew_admission_enter(&admission, &one, 2, 0), CREW_REFUSED_TOTAL);
	crew_admission_leave(&admission, &unix_client);
	assert_int_equal(crew_admission_enter(&admission, &one, 2, 0), CREW_ADMITTED);
	crew_admission_fini(&admission);
}

/* Thousands of clients that come and go leave nothing behind. */
static void
test_many(void **state)
{
	enum { CLIENTS = 20000 };
	struct crew_admission admission;
	struct endpoint it = client("10.0.0.0");

	(void)state;
	crew_admission_init(&admission, 3);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < CLIENTS; i++) {
			it.ip[2] = (uint8_t)(i >> 8);
			it.ip[3] = (uint8_t)i;
			assert_int_equal(crew_admission_enter(&admission, &it, 0, 1),
			    CREW_ADMITTED);
		}
		for (uint32_t i = 0; i < CLIENTS; i++) {
			it.ip[2] = (uint8_t)(i >> 8);
			it.ip[3] = (uint8_t)i;
			crew_admission_leave(&admission, &it);
		}
	}
	assert_int_equal(atomic_load(&admission.total), 0);
	for (size_t i = 0; i < CREW_ADMISSION_SLOT_COUNT; i++)
		assert_int_equal(atomic_load(&admission.slots[i]) & UINT32_MAX, 0);
	crew_admission_fini(&admission);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_limit),
		cmocka_unit_test(test_total_limit),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
