"""Reads the test's catalogue: one item per page, and on to every page it links to."""

import scrapy


class PagesSpider(scrapy.Spider):
    name = "pages"

    def parse(self, response):
        """Reads the page and follows its links."""
        yield self.item(response)
        for link in response.css("nav a::attr(href)").getall():
            yield response.follow(link, callback=self.parse)

    def parse_one(self, response):
        """Reads the page and no other."""
        yield self.item(response)

    @staticmethod
    def item(response):
        return {
            "url": response.url,
            "status": response.status,
            "title": response.css("title::text").get(),
            "price": response.css(".price::text").re_first(r"[\d.]+"),
            "tags": response.css("li.tag::text").getall(),
            "text": " ".join(response.css("p::text").getall()),
            "bytes": len(response.body),
        }
