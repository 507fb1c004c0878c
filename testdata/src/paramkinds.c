// SPDX-License-Identifier: Apache-2.0
/* paramkinds: a parameter of every kind, each with a value to start with. */
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static unsigned char p_byte = 200;
static short p_short = -3;
static unsigned short p_ushort = 65535;
static int p_int = -123456;
static unsigned int p_uint = 4000000000u;
static long p_long = -7;
static unsigned long p_ulong = 7;
static unsigned long long p_ullong = 0x123456789abcdefULL;
static unsigned int p_hexint = 0xbeef;
static bool p_bool = true;
static bool p_invbool = true;
static int p_bint = 1;
static char *p_charp = "first \"value\"";
static char *p_null;
static char p_string[16] = "sixteen at most";
static int p_ints[4] = { 1, -2, 3, 4 };
static int p_nints = 3;
static char *p_words[3] = { "a", "b", "c" };
static unsigned short p_all[2] = { 8, 9 };
static int p_inside = 5;
static int p_zero;
static int p_custom = 17;

module_param_named(byte, p_byte, byte, 0444);
MODULE_PARM_DESC(byte, "a byte");
module_param(p_short, short, 0644);
MODULE_PARM_DESC(p_short, "a short, with \"quotes\" and a colon: here");
module_param(p_ushort, ushort, 0);
module_param(p_int, int, 0600);
MODULE_PARM_DESC(p_int, "an int\nwith a second line\tand a tab");
module_param(p_uint, uint, 0444);
module_param(p_long, long, 0444);
module_param(p_ulong, ulong, 0444);
module_param(p_ullong, ullong, 0444);
module_param(p_hexint, hexint, 0444);
MODULE_PARM_DESC(p_hexint, "h\xc3\xa4 x\xc3\xb6");
module_param(p_bool, bool, 0444);
module_param(p_invbool, invbool, 0444);
module_param(p_bint, bint, 0444);
module_param(p_charp, charp, 0444);
module_param(p_null, charp, 0);
module_param_string(p_string, p_string, sizeof(p_string), 0644);
module_param_array(p_ints, int, &p_nints, 0444);
MODULE_PARM_DESC(p_ints, "up to four");
module_param_array(p_words, charp, NULL, 0);
module_param_array(p_all, ushort, NULL, 0444);
module_param_named(outside, p_inside, int, 0444);
module_param(p_zero, int, 0444);
module_param_unsafe(p_custom, int, 0644);
MODULE_PARM_DESC(p_custom, "dangerous");

static int set_even(const char *val, const struct kernel_param *kp)
{
	int n, err = kstrtoint(val, 0, &n);

	if (err)
		return err;
	return n & 1 ? -EDOM : param_set_int(val, kp);
}

static const struct kernel_param_ops even_ops = { .set = set_even, .get = param_get_int };
static int p_even = 2;
module_param_cb(even, &even_ops, &p_even, 0644);
__MODULE_PARM_TYPE(even, "even number");

static int p_port = 0x3f8;
module_param_hw(p_port, int, ioport, 0444);
MODULE_PARM_DESC(only_described, "has no record in __param");

static int __init paramkinds_init(void)
{
	return p_zero;
}

static void __exit paramkinds_exit(void)
{
}

module_init(paramkinds_init);
module_exit(paramkinds_exit);

MODULE_DESCRIPTION("Parameters of every kind");
MODULE_LICENSE("Dual BSD/GPL");
