"""Settings of the small Scrapy project that ScrapyRT serves in tests/scrapyrt.rs."""

BOT_NAME = "catalogue"
SPIDER_MODULES = ["catalogue.spiders"]

# The site is the test's own and on this machine: nothing to be polite to, and no proxy on the way.
ROBOTSTXT_OBEY = False
DOWNLOAD_DELAY = 0
CONCURRENT_REQUESTS_PER_DOMAIN = 16
AUTOTHROTTLE_ENABLED = False
HTTPPROXY_ENABLED = False
TELNETCONSOLE_ENABLED = False
RETRY_ENABLED = False
LOG_LEVEL = "INFO"
