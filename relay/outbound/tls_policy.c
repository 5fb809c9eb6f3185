#include "relay/outbound/tls_policy.h"

#include "relay/base/must.h"

static const struct {
	const char *name;
	enum tls_level level;
} levels[] = {
	{ "default",     TLS_LEVEL_DEFAULT },
	{ "none",        TLS_LEVEL_NONE },
	{ "may",         TLS_LEVEL_MAY },
	{ "require",     TLS_LEVEL_REQUIRE },
	{ "verify",      TLS_LEVEL_VERIFY },
	{ "fingerprint", TLS_LEVEL_FINGERPRINT },
};

bool
tls_level_parse(struct span text, enum tls_level *level_out)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
		if (span_equal_nocase_cstr(text, levels[i].name)) {
			*level_out = levels[i].level;
			return true;
		}
	}
	return false;
}

const char *
tls_level_name(enum tls_level level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
		if (levels[i].level == level)
			return levels[i].name;
	must_not_reach();
}

enum tls_level
tls_policy_level(const struct tls_policy *policy, bool host_is_named)
{
	if (policy->level != TLS_LEVEL_DEFAULT)
		return policy->level;
	/*
	 * Who names a host knows whom he means.  A stranger found by MX has, without
	 * DNSSEC, a name that anybody could have put there: verifying it proves nothing.
	 */
	return host_is_named ? TLS_LEVEL_VERIFY : TLS_LEVEL_MAY;
}

enum call_tls
tls_policy_call(const struct tls_policy *policy, bool host_is_named)
{
	switch (tls_policy_level(policy, host_is_named)) {
	case TLS_LEVEL_NONE:
		return CALL_TLS_NONE;
	case TLS_LEVEL_MAY:
		return CALL_TLS_MAY;
	case TLS_LEVEL_REQUIRE:
		return CALL_TLS_REQUIRE;
	case TLS_LEVEL_VERIFY:
		return CALL_TLS_VERIFY;
	case TLS_LEVEL_FINGERPRINT:
		return CALL_TLS_FINGERPRINT;
	case TLS_LEVEL_DEFAULT:
		break;
	}
	must_not_reach();
}

int
tls_policy_check(const struct tls_policy *policy, bool host_is_named, struct err *err)
{
	enum tls_level level = tls_policy_level(policy, host_is_named);

	if (level == TLS_LEVEL_FINGERPRINT && policy->fingerprint_count == 0)
		return err_set(err, ERR_CONFIG, "tls = fingerprint needs a fingerprint");
	if (level != TLS_LEVEL_FINGERPRINT && policy->fingerprint_count > 0)
		return err_set(err, ERR_CONFIG,
		    "a fingerprint is given, but tls = %s does not look at it",
		    tls_level_name(level));
	if (policy->implicit && (level == TLS_LEVEL_NONE || level == TLS_LEVEL_MAY))
		return err_set(err, ERR_CONFIG,
		    "TLS from the first byte needs tls = require, verify or fingerprint, not %s",
		    tls_level_name(level));
	if (policy->name && level != TLS_LEVEL_VERIFY)
		return err_set(err, ERR_CONFIG,
		    "a name to verify is given, but tls = %s does not look at it",
		    tls_level_name(level));
	return 0;
}
