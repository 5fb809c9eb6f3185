#include "tests/unit/net/net_fixture.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DAY_S = 24 * 60 * 60 };

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

static void
add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);

	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static X509 *
new_certificate(const char *name, EVP_PKEY *key, long from_s, long to_s)
{
	static long serial = 0;
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);

	assert_int_equal(X509_set_version(certificate, 2), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), from_s));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), to_s));
	assert_int_equal(X509_set_pubkey(certificate, key), 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
	    (const unsigned char *)name, -1, -1, 0), 1);
	return certificate;
}

static void
write_pem(const char *path, X509 *certificate, EVP_PKEY *key)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	if (certificate)
		assert_int_equal(PEM_write_X509(file, certificate), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fclose(file), 0);
}

static struct authority
make_authority(const char *name, const char *path)
{
	struct authority ca = { .key = EVP_EC_gen("P-256") };

	assert_non_null(ca.key);
	ca.certificate = new_certificate(name, ca.key, -DAY_S, 100L * DAY_S);
	assert_int_equal(X509_set_issuer_name(ca.certificate,
	    X509_get_subject_name(ca.certificate)), 1);
	add_extension(ca.certificate, ca.certificate, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(ca.certificate, ca.certificate, NID_key_usage, "critical,keyCertSign");
	assert_true(X509_sign(ca.certificate, ca.key, EVP_sha256()) > 0);
	write_pem(path, ca.certificate, NULL);
	return ca;
}

static void
issue(const struct authority *ca, const char *names, long from_s, long to_s,
    const char *path, const char *key_path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = new_certificate("common name", key, from_s, to_s);

	assert_int_equal(X509_set_issuer_name(certificate,
	    X509_get_subject_name(ca->certificate)), 1);
	add_extension(certificate, ca->certificate, NID_subject_alt_name, names);
	assert_true(X509_sign(certificate, ca->key, EVP_sha256()) > 0);
	write_pem(path, certificate, NULL);
	write_pem(key_path, NULL, key);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

void
test_certificates_make(struct test_certificates *files)
{
	const char *names = "DNS:localhost.test,DNS:also.test,IP:127.0.0.1";

	(void)snprintf(files->directory, sizeof(files->directory), "/tmp/chapar-tls-XXXXXX");
	assert_non_null(mkdtemp(files->directory));
#define NAME(member, name)                                                      \
	(void)snprintf(files->member, sizeof(files->member), "%s/%s", files->directory, name)
	NAME(ca, "ca.pem");
	NAME(other_ca, "other_ca.pem");
	NAME(good, "good.pem");
	NAME(good_key, "good.key");
	NAME(second, "second.pem");
	NAME(second_key, "second.key");
	NAME(expired, "expired.pem");
	NAME(expired_key, "expired.key");
	NAME(future, "future.pem");
	NAME(future_key, "future.key");
	NAME(stranger, "stranger.pem");
	NAME(stranger_key, "stranger.key");
#undef NAME
	struct authority ca = make_authority("the CA", files->ca);
	struct authority other = make_authority("another CA", files->other_ca);

	issue(&ca, names, -DAY_S, 10L * DAY_S, files->good, files->good_key);
	issue(&ca, "DNS:second.test", -DAY_S, 10L * DAY_S, files->second, files->second_key);
	issue(&ca, names, -10L * DAY_S, -DAY_S, files->expired, files->expired_key);
	issue(&ca, names, DAY_S, 10L * DAY_S, files->future, files->future_key);
	issue(&other, names, -DAY_S, 10L * DAY_S, files->stranger, files->stranger_key);
	X509_free(ca.certificate);
	EVP_PKEY_free(ca.key);
	X509_free(other.certificate);
	EVP_PKEY_free(other.key);
}

void
test_certificates_remove(struct test_certificates *files)
{
	const char *const paths[] = {
		files->ca, files->other_ca, files->good, files->good_key, files->second,
		files->second_key, files->expired, files->expired_key, files->future,
		files->future_key, files->stranger, files->stranger_key,
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		(void)unlink(paths[i]);
	assert_int_equal(rmdir(files->directory), 0);
}
